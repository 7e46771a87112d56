#!/usr/bin/env node
import { parseCommand } from './cli/command.js';

process.exitCode = await parseCommand(process.argv.slice(2), process.env);
