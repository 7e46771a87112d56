// dockerfile.js for TypeScript: the tests import it, and the build does not compile scripts.
export type Variables = Record<string, string>;
export type Step = {
  op: string;
  flags: Variables;
  text: string;
  words: readonly string[];
};
export type Stage = { name: string; from: string; steps: Step[] };

/** Throws on what it does not understand. */
export function parseDockerfile(text: string): { args: Variables; stages: readonly Stage[] };
/** Throws where a variable is not set. */
export function expand(text: string, variables: Variables): string;
export function parseIgnore(text: string): (path: string) => boolean;
