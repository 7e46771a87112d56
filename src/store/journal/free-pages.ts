import { z } from 'zod';
import type { Tables } from './tables.js';

const treeSchema = z.object({
  treeBranchPageCount: z.number(),
  treeLeafPageCount: z.number(),
  overflowPages: z.number(),
});
const environmentSchema = treeSchema.extend({
  pageSize: z.number(),
  lastPageNumber: z.number(),
  root: treeSchema,
  free: treeSchema,
});

/** LMDB's two meta pages. */
const headPages = 2;

/** Returns the bytes up to the last page that LMDB has ever used. */
export function readUsedBytes({ environment }: Tables): number {
  const { pageSize, lastPageNumber } = environmentSchema.parse(environment.getStats());
  return (lastPageNumber + 1) * pageSize;
}

/**
 * Returns the length of the journal's file, which ends at `endBytes`, and its unused bytes. LMDB never returns a
 * page to the volume, but it uses free pages before it extends the file.
 */
export function readFreePages(
  { environment, ...tables }: Tables,
  endBytes: number,
): {
  readonly fileBytes: number;
  readonly freeBytes: number;
} {
  const { pageSize, lastPageNumber, root, free } = environmentSchema.parse(environment.getStats());
  const trees = [
    root,
    free,
    ...Object.values(tables).map((table) => treeSchema.parse(table.getStats())),
  ];
  const used = trees.reduce(
    (sum, tree) => sum + tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages,
    headPages,
  );
  const fileBytes = Math.max(endBytes, (lastPageNumber + 1) * pageSize);
  return { fileBytes, freeBytes: fileBytes - used * pageSize };
}
