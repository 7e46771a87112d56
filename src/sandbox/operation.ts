/**
 * An operation of Klaviyo's API: what identifies it, what it needs, and the function that performs
 * it. Each family of operations defines its own in a table; operations.ts joins the tables.
 */

import type { Account } from './account.js';
import type { Endpoint, Tier } from './endpoints.js';
import type { ActivePoison } from './faults.js';
import type { ApiResponse } from './response.js';
import type { Revision } from './revisions.js';

export type Operation = {
  /** Operations with one name share their rate windows. */
  readonly name: string;
  readonly method: string;
  /** Holds at most one `{id}`. */
  readonly path: string;
  readonly endpoint: Endpoint;
  readonly tier: Tier;
  /** All of them are needed (`x-klaviyo-scopes` in Klaviyo's OpenAPI). */
  readonly scopes: readonly string[];
  readonly handle: (call: Call) => ApiResponse;
};

/** One admitted request to one operation, with its parsed body. */
export type Call = {
  readonly account: Account;
  /** The id in the path; empty if the operation has none. */
  readonly id: string;
  /** Absolute, as the client sees it. Links in responses start from it. */
  readonly url: URL;
  /** The revision that responds. It is later than the requested one if that one is retired. */
  readonly revision: Revision;
  /** Epoch ms. */
  readonly now: number;
  readonly json: unknown;
  readonly poisons: readonly ActivePoison[];
};

/** `scopes` are separated by spaces, as in Klaviyo's documentation. */
type OperationRow = Pick<Operation, 'name' | 'tier' | 'handle'> & { readonly scopes: string };

/** Defines the operations of an endpoint by method and path, such as `GET /api/lists/{id}`. */
export function defineOperations(
  endpoint: Endpoint,
  rows: Readonly<Record<string, OperationRow>>,
): readonly Operation[] {
  return Object.entries(rows).map(([key, { scopes, ...row }]) => {
    const [method = '', path = ''] = key.split(' ');
    return { ...row, method, path, endpoint, scopes: scopes.split(' ') };
  });
}
