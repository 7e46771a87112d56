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

/** LMDB's two head pages. */
const headPages = 2;

/**
 * Bytes in the journal's file, and those of them in pages that hold nothing: LMDB never gives a page
 * back to the volume, but it uses free ones before it makes the file longer.
 */
export function readFreePages({ environment, ...tables }: Tables): {
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
  const pages = lastPageNumber + 1;
  return { fileBytes: pages * pageSize, freeBytes: Math.max(0, pages - used) * pageSize };
}
