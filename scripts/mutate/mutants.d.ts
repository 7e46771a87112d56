export type Mutant = {
  readonly id: number;
  /** Path from the project's root. */
  readonly file: string;
  readonly line: number;
  readonly original: string;
  /** '' removes a statement. */
  readonly replacement: string;
};

export declare function mutateSource(
  file: string,
  text: string,
  firstId: number,
): { readonly text: string; readonly mutants: readonly Mutant[] };
