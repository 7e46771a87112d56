/**
 * Reads of the account: the sandbox has exactly one.
 */

import { defineOperations } from './operation.js';
import type { Call } from './operation.js';
import { respondWithPage, respondWithResource, withQuery } from './query.js';
import type { Resource } from './resources.js';
import { createNotFoundResponse } from './response.js';
import type { ApiResponse } from './response.js';

export const accountOperations = defineOperations('accounts', {
  'GET /api/accounts': {
    name: 'get_accounts',
    tier: 'XS',
    scopes: 'accounts:read',
    handle: getAccounts,
  },
  'GET /api/accounts/{id}': {
    name: 'get_account',
    tier: 'XS',
    scopes: 'accounts:read',
    handle: getAccount,
  },
});

function getAccounts(call: Call): ApiResponse {
  const { url } = call;
  return withQuery(call, { fields: ['account'] }, (query) =>
    respondWithPage([url], { query, url, toResource: toAccountResource }),
  );
}

function getAccount(call: Call): ApiResponse {
  const { url, id } = call;
  return withQuery(call, { fields: ['account'] }, (query) =>
    id === accountId
      ? respondWithResource(toAccountResource(url), query)
      : createNotFoundResponse(`An account with id ${id} does not exist.`),
  );
}

const accountId = 'SNDBOX';

function toAccountResource(url: URL): Resource {
  return {
    type: 'account',
    id: accountId,
    attributes: {
      test_account: true,
      contact_information: {
        default_sender_name: 'Klaviyo sandbox',
        default_sender_email: 'sandbox@klaviyo-demo.com',
        website_url: null,
        organization_name: 'Klaviyo sandbox',
        street_address: {
          address1: null,
          address2: null,
          city: 'Boston',
          region: null,
          country: null,
          zip: null,
        },
      },
      industry: null,
      timezone: 'UTC',
      preferred_currency: 'USD',
      public_api_key: accountId,
      locale: 'en-US',
    },
    links: { self: new URL(`/api/accounts/${accountId}`, url).href },
  };
}
