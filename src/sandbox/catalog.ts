/**
 * The catalog of the account: items and their variants, which asynchronous jobs create, update and
 * delete. An entry of a job can fail alone, and the job lists the errors.
 */

import { randomUUID } from 'node:crypto';
import type { JsonObject } from '../json/json.js';
import { createJobs } from './jobs.js';
import type { JobOptions, JobProgress, Jobs } from './jobs.js';

export const catalogKinds = ['item', 'variant'] as const;
export type CatalogKind = (typeof catalogKinds)[number];
export const catalogActions = ['create', 'update', 'delete'] as const;
export type CatalogAction = (typeof catalogActions)[number];

/** An item or a variant. `id`: `$custom:::$default:::` and the external id. */
export type CatalogEntry = {
  readonly id: string;
  /** Klaviyo's attribute names, without the times. */
  readonly attributes: JsonObject;
  /** The item of a variant; null for an item. */
  readonly itemId: string | null;
  /** Epoch ms. */
  readonly createdAt: number;
  readonly updatedAt: number;
};

/** One entry of a job. A poison rule sets `failure`. */
export type CatalogInput = Pick<CatalogEntry, 'id' | 'attributes' | 'itemId'> & {
  /** JSON Pointer of the entry in the request. */
  readonly pointer: string;
  readonly failure: string | null;
};

export type CatalogError = {
  readonly id: string;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly pointer: string;
};

export type CatalogJob = JobProgress & {
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  readonly errors: readonly CatalogError[];
  /** The ids of the entries that the job has changed. */
  readonly changedIds: readonly string[];
};

export type CatalogJobs = Jobs<readonly CatalogInput[], CatalogJob>;

export type Catalog = {
  readonly entries: Readonly<Record<CatalogKind, ReadonlyMap<string, CatalogEntry>>>;
  readonly jobs: Readonly<Record<CatalogKind, Readonly<Record<CatalogAction, CatalogJobs>>>>;
  /** Cancels the open jobs. */
  close(): void;
};

export function createCatalog(options: JobOptions): Catalog {
  const entries = {
    item: new Map<string, CatalogEntry>(),
    variant: new Map<string, CatalogEntry>(),
  };

  /** Applies one entry and returns null, or returns why it failed. */
  const apply = (
    { kind, action }: { kind: CatalogKind; action: CatalogAction },
    { id, attributes, itemId, failure }: CatalogInput,
    at: number,
  ): Pick<CatalogError, 'code' | 'title' | 'detail'> | null => {
    if (failure !== null) return toFailure('invalid', failure);
    const known = entries[kind].get(id);
    if (action === 'create') {
      if (known !== undefined) {
        return toFailure('invalid', `${nouns[kind]} with the id \`${id}\` already exists.`);
      }
      if (itemId !== null && !entries.item.has(itemId)) return toMissing('item', itemId);
      entries[kind].set(id, { id, attributes, itemId, createdAt: at, updatedAt: at });
      return null;
    }
    if (known === undefined) return toMissing(kind, id);
    if (action === 'delete') entries[kind].delete(id);
    else {
      const merged = { ...known.attributes, ...attributes };
      entries[kind].set(id, { ...known, attributes: merged, updatedAt: at });
    }
    return null;
  };

  const createCatalogJobs = (kind: CatalogKind, action: CatalogAction): CatalogJobs =>
    createJobs<readonly CatalogInput[], CatalogJob>(options, {
      describe: toOpenCatalogJob,
      complete(inputs, progress) {
        const at = options.clock.now();
        const errors: CatalogError[] = [];
        const changedIds: string[] = [];
        for (const input of inputs) {
          const failure = apply({ kind, action }, input, at);
          if (failure === null) changedIds.push(input.id);
          else errors.push({ id: randomUUID(), ...failure, pointer: input.pointer });
        }
        const [completed, failed] = [changedIds.length, errors.length];
        return { ...toOpenCatalogJob(inputs, progress), completed, failed, errors, changedIds };
      },
    });

  const createKind = (kind: CatalogKind) => ({
    create: createCatalogJobs(kind, 'create'),
    update: createCatalogJobs(kind, 'update'),
    delete: createCatalogJobs(kind, 'delete'),
  });
  const jobs = { item: createKind('item'), variant: createKind('variant') };

  return {
    entries,
    jobs,
    close() {
      for (const kind of catalogKinds) {
        for (const action of catalogActions) jobs[kind][action].close();
      }
    },
  };
}

const nouns: Readonly<Record<CatalogKind, string>> = { item: 'An item', variant: 'A variant' };

/** The text for an item was recorded (delete_catalog_item.404.json of nickdnk/klaviyo-php-sdk). */
function toMissing(kind: CatalogKind, id: string) {
  return toFailure('not_found', `${nouns[kind]} with the id \`${id}\` does not exist.`);
}

function toFailure(code: 'invalid' | 'not_found', detail: string) {
  return { code, title: code === 'invalid' ? 'Invalid input.' : 'Not found.', detail };
}

function toOpenCatalogJob(inputs: readonly CatalogInput[], progress: JobProgress): CatalogJob {
  const total = inputs.length;
  return { ...progress, total, completed: 0, failed: 0, errors: [], changedIds: [] };
}
