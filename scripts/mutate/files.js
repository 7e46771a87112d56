import { readFileSync } from 'node:fs';

/** @returns {import('./plan.js').Plan} what this run has to do */
export function readPlan() {
  return JSON.parse(readFileSync(process.env.MUTATE_PLAN ?? '', 'utf8'));
}

/**
 * @param {string} path
 * @returns {import('./plan.js').Step[]}
 */
export function readSteps(path) {
  const lines = readFileSync(path, 'utf8').trim().replaceAll('\n', ',');
  return JSON.parse(`[${lines}]`);
}

/**
 * @param {string} path
 * @returns {import('./plan.js').Equivalent[]}
 */
export function readEquivalents(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/**
 * @param {string} path
 * @returns {Record<string, import('./plan.js').FileResult>}
 */
export function readResults(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}
