import type { Mutant } from './mutants.js';

/** What scripts/mutate.js gives to the test run. */
export type Plan = {
  readonly root: string;
  readonly tests: string[];
  /** The text with all mutants, by absolute path. */
  readonly sources: Readonly<Record<string, string>>;
  readonly mutants: readonly Mutant[];
  /** Mutants that have a result. */
  readonly done: readonly number[];
  /** Where the run appends a line of JSON for each step. */
  readonly progress: string;
  /** The most CPU time that the tests of one mutant may take, as they took without a mutant. */
  readonly maxTestMs: number;
};

export type Step =
  | { readonly step: 'baseline'; readonly failed: readonly string[] }
  | { readonly step: 'started'; readonly id: number }
  | { readonly step: 'ended'; readonly id: number; readonly result: Result; readonly by?: string };

/** `uncovered`: no test reaches the mutant. */
export type Result = 'killed' | 'timeout' | 'survived' | 'uncovered';

/** What an earlier run found in one source. It counts as long as the source stays the same. */
export type FileResult = { readonly hash: string; readonly killed: readonly string[] };

/** A mutant that behaves as the source does, so that no test can fail. `file`: the end of its path. */
export type Equivalent = {
  readonly file: string;
  readonly original: string;
  readonly replacement: string;
  readonly reason: string;
};
