import type { Equivalent, FileResult, Plan, Step } from './plan.js';

export declare function readPlan(): Plan;
export declare function readSteps(path: string): Step[];
export declare function readEquivalents(path: string): Equivalent[];
export declare function readResults(path: string): Record<string, FileResult>;
