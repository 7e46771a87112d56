import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import type { Environment } from '../config/config.js';
import { toErrorMessage } from '../error.js';

const fileName = '.env';

/**
 * Adds the variables of the file `.env` in the working directory. A variable of the process that is
 * not empty takes precedence. Throws if the file exists and cannot be read.
 */
export function withEnvFile(env: Environment): Environment {
  const present = Object.entries(env).filter(([, value]) => value !== undefined && value !== '');
  return { ...readEnvFile(), ...Object.fromEntries(present) };
}

function readEnvFile(): Environment {
  try {
    return parseEnv(readFileSync(fileName, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw new Error(`${fileName} cannot be read: ${toErrorMessage(error)}`, {
      cause: error,
    });
  }
}
