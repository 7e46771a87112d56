#!/usr/bin/env node
import { runCommand } from './cli/run.js';
import { catchOutputErrors, endWith } from './cli/outputs.js';

catchOutputErrors();
await endWith(await runCommand(process.argv.slice(2), process.env));
