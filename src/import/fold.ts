/** Folds a name or a word: two that differ only in case, blanks, `-` and `_` become equal. */
export const fold = (text: string): string => text.toLowerCase().replace(/[\s_-]/g, '');
