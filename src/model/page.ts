/** A page of a list, newest first; `next` is an opaque cursor. */
export type Page<T> = { readonly data: readonly T[]; readonly next: string | null };

export type PageQuery = { readonly limit: number; readonly cursor?: string | undefined };
