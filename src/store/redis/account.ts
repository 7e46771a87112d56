import { createHmac } from 'node:crypto';
import type { RedisConnection, RedisReply } from '../../redis/connection.js';
import { readReplyList, readReplyText } from './store-state.js';

/** The Klaviyo account of an API key: no id if the key may not read it, not ok if Klaviyo could not be asked. */
export type AccountAnswer =
  { readonly ok: true; readonly id?: string } | { readonly ok: false; readonly reason: string };

export type AccountOptions = {
  readonly connection: Pick<RedisConnection, 'call'>;
  /** Prefix of every key, with a hash tag. */
  readonly prefix: string;
  /** Digest of the API key, from `toAccountKey`. */
  readonly accountKey: string;
  /** REDIS_ACCEPT_KEY: the digest that the operator accepts although the accounts could not be compared. */
  readonly acceptedKey: string | undefined;
  /** Asks Klaviyo for the account of the API key. */
  readonly account: () => Promise<AccountAnswer>;
};

/** A digest that stands for the API key in Redis. The same key has another digest under another prefix. */
export function toAccountKey(apiKey: string, keyPrefix: string): string {
  const digest = createHmac('sha256', apiKey).update(`klaviyo-relay ${keyPrefix}`).digest();
  return digest.toString('base64url').slice(0, 16);
}

/** All relays together ask Klaviyo for the account's id at most once a minute. */
const askSeconds = 60;
/** Stored in place of an account id that Klaviyo does not return because the key lacks the scope. */
const unknownId = '-';

/**
 * Prevents that one Klaviyo account sends what another one accepted. The first relay under a prefix stores the
 * digest of its API key, and the account's id when Klaviyo has named it. A relay with another key is admitted
 * if its account is the same, or if the operator accepts the key (REDIS_ACCEPT_KEY).
 */
export class AccountGuard {
  readonly #options: AccountOptions;
  readonly #name: string;

  constructor(options: AccountOptions) {
    this.#options = options;
    this.#name = `${options.prefix}:account`;
  }

  /** Resolves with null if the key is admitted, otherwise with the reason. Rejects with UnavailableError. */
  async admit(): Promise<string | null> {
    const { connection, accountKey, acceptedKey, account } = this.#options;
    if (acceptedKey === accountKey) return this.#add('');
    const known = readReplyList(await connection.call('HVALS', this.#name)).map(readReplyText);
    const answer = await account();
    if (answer.ok && answer.id !== undefined && known.includes(answer.id)) {
      return this.#add(answer.id);
    }
    const of = known.find((id) => id !== '' && id !== unknownId);
    const ours = answer.ok
      ? (answer.id ?? 'an account that Klaviyo does not name (the key lacks accounts:read)')
      : `an account that is not known (${answer.reason})`;
    return [
      `what lies under REDIS_KEY_PREFIX belongs to ${of === undefined ? 'another key' : `the Klaviyo account ${of}`}`,
      `and KLAVIYO_API_KEY is of ${ours}`,
      `use another prefix or database, or, where both keys are of one account, set REDIS_ACCEPT_KEY=${accountKey}`,
    ].join('; ');
  }

  /** Stores the account's id of the key if it is not stored yet. */
  async learn(): Promise<void> {
    const { connection, prefix, accountKey, account } = this.#options;
    if (readReplyText(await connection.call('HGET', this.#name, accountKey)) !== '') return;
    const asked = ['SET', `${prefix}:account-asked`, '1', 'NX', 'EX', askSeconds] as const;
    const isFirst: RedisReply = await connection.call(...asked);
    if (isFirst === null) return;
    const answer = await account();
    if (answer.ok) await this.#add(answer.id ?? unknownId);
  }

  async #add(id: string): Promise<null> {
    await this.#options.connection.call('HSET', this.#name, this.#options.accountKey, id);
    return null;
  }
}
