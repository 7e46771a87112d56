import { createHmac } from 'node:crypto';
import type { RedisConnection, RedisReply } from '../../redis/connection.js';
import { readList, readText } from './view.js';

/** Whose key it is, as far as Klaviyo says: without an id where it does not, not ok where it gave no answer. */
export type AccountAnswer =
  { readonly ok: true; readonly id?: string } | { readonly ok: false; readonly reason: string };

export type AccountOptions = {
  readonly connection: Pick<RedisConnection, 'call'>;
  /** Prefix of every name, with a hash tag. */
  readonly prefix: string;
  /** From `toAccountKey`. */
  readonly accountKey: string;
  /** One that the operator accepts though it is not known to be of the same account. */
  readonly acceptedKey: string | undefined;
  /** Asks Klaviyo. */
  readonly account: () => Promise<AccountAnswer>;
};

/** Stands for the private key in Redis: nobody finds the key by it. Another prefix has another one. */
export function toAccountKey(apiKey: string, keyPrefix: string): string {
  const digest = createHmac('sha256', apiKey).update(`klaviyo-relay ${keyPrefix}`).digest();
  return digest.toString('base64url').slice(0, 16);
}

/** Klaviyo is asked for the account's id once a minute at most, by all relays together. */
const askSeconds = 60;
/** Klaviyo does not say: the key has no scope for it. */
const untold = '-';

/**
 * Keeps one Klaviyo account from sending what another one accepted. The first relay under a prefix
 * writes down what stands for its key, and the account's id once Klaviyo has told it. A relay with
 * another key is let in where its account is the same, or where the operator says so (docs/guides/several-relays.md).
 */
export class AccountGuard {
  readonly #options: AccountOptions;
  readonly #name: string;

  constructor(options: AccountOptions) {
    this.#options = options;
    this.#name = `${options.prefix}:account`;
  }

  /** Null where the key is let in from now on, else why it is not. Rejects with UnavailableError. */
  async admit(): Promise<string | null> {
    const { connection, accountKey, acceptedKey, account } = this.#options;
    if (acceptedKey === accountKey) return this.#add('');
    const known = readList(await connection.call('HVALS', this.#name)).map(readText);
    const answer = await account();
    if (answer.ok && answer.id !== undefined && known.includes(answer.id)) {
      return this.#add(answer.id);
    }
    const of = known.find((id) => id !== '' && id !== untold);
    const ours = answer.ok
      ? (answer.id ?? 'an account that Klaviyo does not name (the key lacks accounts:read)')
      : `an account that is not known (${answer.reason})`;
    return [
      `what lies under REDIS_KEY_PREFIX belongs to ${of === undefined ? 'another key' : `the Klaviyo account ${of}`}`,
      `and KLAVIYO_API_KEY is of ${ours}`,
      `use another prefix or database, or, where both keys are of one account, set REDIS_ACCEPT_KEY=${accountKey}`,
    ].join('; ');
  }

  /** Writes down whose key it is, where that is not known yet. */
  async learn(): Promise<void> {
    const { connection, prefix, accountKey, account } = this.#options;
    if (readText(await connection.call('HGET', this.#name, accountKey)) !== '') return;
    const asked = ['SET', `${prefix}:account-asked`, '1', 'NX', 'EX', askSeconds] as const;
    const isFirst: RedisReply = await connection.call(...asked);
    if (isFirst === null) return;
    const answer = await account();
    if (answer.ok) await this.#add(answer.id ?? untold);
  }

  async #add(id: string): Promise<null> {
    await this.#options.connection.call('HSET', this.#name, this.#options.accountKey, id);
    return null;
  }
}
