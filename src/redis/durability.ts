import { isUnable, UnavailableError, type RedisConnection } from './connection.js';

/** REDIS_DURABLE: what the operator declares about the server. */
export type Stated = 'auto' | 'yes' | 'no';

export type Durability = {
  /** Such as `valkey 8.1.0`. */
  readonly server: string;
  /** False below Redis 6.2, which lacks commands that the store uses. */
  readonly isSupported: boolean;
  /** True if acknowledged writes survive the server's end and a power failure. False while that is unknown. */
  readonly isDurable: boolean;
  /** False if neither the server nor the operator provides the answer. */
  readonly isKnown: boolean;
  /** Sentences for operators to act on. */
  readonly findings: readonly string[];
};

/** What the server reports about itself. Null: it does not report it. */
export type ServerFacts = {
  readonly name: string | null;
  /** The Redis version that the server is compatible with: Valkey reports it besides its own version. */
  readonly redisVersion: string | null;
  readonly ownVersion: string | null;
  readonly role: string | null;
  readonly replicas: number;
  readonly isCluster: boolean;
  readonly didLastWriteFail: boolean;
  /** The error reply to CONFIG; null if CONFIG is allowed. */
  readonly closed: string | null;
  readonly settings: Readonly<Record<SettingName, string | null>>;
};

const settingNames = [
  'appendonly',
  'appendfsync',
  'no-appendfsync-on-rewrite',
  'save',
  'maxmemory',
  'maxmemory-policy',
] as const;
type SettingName = (typeof settingNames)[number];

type Asked = Pick<RedisConnection, 'call'>;

export type DurabilityOptions = {
  readonly stated: Stated;
  /** REDIS_WAIT_REPLICAS: number of replicas that have what is acknowledged. */
  readonly waitReplicas: number;
};

/** In a cluster, reads one of the nodes. Rejects with UnavailableError. */
export async function readDurability(
  connection: Asked,
  options: DurabilityOptions,
): Promise<Durability> {
  return toDurability(await readFacts(connection), options);
}

/** A sentence for operators if the server may evict keys that never expire, such as the limiter's; else null. */
export async function findEviction(connection: Asked): Promise<string | null> {
  const { maxmemory, 'maxmemory-policy': policy } = (await readFacts(connection)).settings;
  if (maxmemory === '0' || policy?.startsWith('allkeys-') !== true) return null;
  return `maxmemory-policy is ${policy}: at maxmemory the server drops what it knows of requests to Klaviyo, and limits may be exceeded; set maxmemory-policy noeviction`;
}

async function readFacts(connection: Asked): Promise<ServerFacts> {
  const info = await readInfo(connection);
  const { settings, closed } = await readServerSettings(connection);
  const valkey = info.get('valkey_version') ?? null;
  const redisVersion = info.get('redis_version') ?? null;
  return {
    name: info.get('server_name') ?? (valkey !== null ? 'valkey' : redisVersion && 'redis'),
    redisVersion,
    ownVersion: valkey ?? redisVersion,
    role: info.get('role') ?? null,
    replicas: Number(info.get('connected_slaves') ?? 0),
    isCluster: info.get('cluster_enabled') === '1',
    didLastWriteFail: (info.get('aof_last_write_status') ?? 'ok') !== 'ok',
    closed,
    // INFO reports some of the settings, too, and is allowed in places where CONFIG is not.
    settings: {
      ...settings,
      appendonly: settings.appendonly ?? toYesOrNo(info.get('aof_enabled')),
      maxmemory: settings.maxmemory ?? info.get('maxmemory') ?? null,
      'maxmemory-policy': settings['maxmemory-policy'] ?? info.get('maxmemory_policy') ?? null,
    },
  };
}

function toYesOrNo(flag: string | undefined): string | null {
  return flag === undefined ? null : flag === '1' ? 'yes' : 'no';
}

/** Reads INFO, or some of its sections, by field; empty if INFO is not allowed. */
export async function readInfo(
  connection: Asked,
  ...sections: readonly string[]
): Promise<ReadonlyMap<string, string>> {
  const text = await refusable(() => connection.call('INFO', ...sections));
  const lines = text instanceof Error ? [] : toLines(text);
  return new Map(
    lines.flatMap((line) => {
      const [, name, value] = /^([a-z_]+):(.*)$/.exec(line) ?? [];
      return name === undefined || value === undefined ? [] : [[name, value]];
    }),
  );
}

function toLines(reply: unknown): string[] {
  return Buffer.isBuffer(reply) ? reply.toString().split(/\r?\n/) : [];
}

/** Reads one setting at a time: Redis before 7 accepts only one name in CONFIG GET. */
async function readServerSettings(
  connection: Asked,
): Promise<Pick<ServerFacts, 'settings' | 'closed'>> {
  let closed: string | null = null;
  const entries: [SettingName, string | null][] = [];
  for (const name of settingNames) {
    const reply = await refusable(() => connection.call('CONFIG', 'GET', name));
    if (reply instanceof Error) closed ??= reply.message;
    entries.push([name, toSetting(reply)]);
  }
  return { settings: Object.fromEntries(entries) as ServerFacts['settings'], closed };
}

/** Reads `[name, value]`; the reply is empty if a managed server hides the setting. */
function toSetting(reply: unknown): string | null {
  const value: unknown = Array.isArray(reply) ? reply[1] : null;
  return Buffer.isBuffer(value) ? value.toString() : null;
}

/** Returns an error reply as a value, because the server may not allow the command. Rejects if the server rejects every command. */
async function refusable<T>(ask: () => Promise<T>): Promise<T | Error> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof UnavailableError) || error.reply === null) throw error;
    if (isUnable(error.reply)) throw error;
    return new Error(error.reply);
  }
}

export function toDurability(
  facts: ServerFacts,
  { stated, waitReplicas }: DurabilityOptions,
): Durability {
  const reasons = [
    ...toLosses(facts.settings),
    ...toRoleLosses(facts),
    ...toFailoverLosses(facts, waitReplicas),
  ];
  const isRead = isTold(facts.settings);
  const isDurable = stated === 'auto' ? isRead && reasons.length === 0 : stated === 'yes';
  const isSupported = isVersionSupported(facts.redisVersion);
  return {
    server: `${facts.name ?? 'unknown'} ${facts.ownVersion ?? ''}`.trim(),
    isSupported,
    isDurable,
    isKnown: stated !== 'auto' || isRead,
    findings: [
      ...(isSupported
        ? []
        : [`the server is Redis ${facts.redisVersion ?? ''}: use 6.2 or later, or Valkey`]),
      ...reasons,
      ...toDoubts(facts, stated, { isRead, hasReasons: reasons.length > 0 }),
      ...toWarnings(facts, waitReplicas),
    ],
  };
}

/** Returns true if the server reports enough to be judged. */
function isTold(settings: ServerFacts['settings']): boolean {
  const { appendonly, appendfsync, maxmemory } = settings;
  const isMemoryTold = maxmemory === '0' || settings['maxmemory-policy'] !== null;
  return appendonly !== null && appendfsync !== null && isMemoryTold;
}

/** An unknown version is accepted: the store's own commands will fail if it is too old. */
function isVersionSupported(version: string | null): boolean {
  const [, major = 0, minor = 0] = /^(\d+)\.(\d+)/.exec(version ?? '6.2') ?? [];
  return Number(major) > 6 || (Number(major) === 6 && Number(minor) >= 2);
}

/** Describes settings with which acknowledged writes can be lost. */
function toLosses(settings: ServerFacts['settings']): string[] {
  const { appendonly, appendfsync, save, maxmemory } = settings;
  const policy = settings['maxmemory-policy'];
  const losses: string[] = [];
  if (appendonly === 'no') {
    const lost = save === '' ? 'everything accepted' : 'what was accepted since its last snapshot';
    losses.push(`appendonly is no: ${lost} is lost when the server ends; set appendonly yes`);
  } else if (appendfsync === 'everysec') {
    losses.push(
      "appendfsync is everysec: a second or two of accepted events are lost when the server's machine fails; set appendfsync always",
    );
  } else if (appendfsync === 'no') {
    losses.push(
      "appendfsync is no: what the kernel has not written yet is lost when the server's machine fails; set appendfsync always",
    );
  } else if (settings['no-appendfsync-on-rewrite'] === 'yes') {
    losses.push(
      'no-appendfsync-on-rewrite is yes: what is accepted while the server rewrites its file is lost when its machine fails; set no-appendfsync-on-rewrite no',
    );
  }
  // Without maxmemory nothing is evicted, whatever the policy.
  if (maxmemory !== '0' && policy !== null && policy !== 'noeviction') {
    losses.push(
      `maxmemory-policy is ${policy}: at maxmemory the server drops keys to make room, and what was accepted may go with them; set maxmemory-policy noeviction`,
    );
  }
  return losses;
}

function toRoleLosses({ role }: ServerFacts): string[] {
  if (role !== 'slave' && role !== 'replica') return [];
  return [
    'the server is a replica: it takes no writes, or loses them to its primary; point REDIS_URL at the primary',
  ];
}

/** A replica lags behind the primary and may become the primary in this state. */
function toFailoverLosses({ replicas }: ServerFacts, waitReplicas: number): string[] {
  if (replicas === 0 || waitReplicas > 0) return [];
  return [
    `${toFollowers(replicas)} a moment behind: a failover loses the accepted events that the new primary does not have yet; set REDIS_WAIT_REPLICAS to 1`,
  ];
}

const toFollowers = (replicas: number): string =>
  replicas === 1 ? 'a replica follows' : `${replicas} replicas follow`;

function toDoubts(
  { closed }: ServerFacts,
  stated: Stated,
  { isRead, hasReasons }: { isRead: boolean; hasReasons: boolean },
): string[] {
  if (stated === 'yes') {
    return hasReasons
      ? [
          'REDIS_DURABLE is yes and is believed, against what the server says: correct one of the two',
        ]
      : [];
  }
  if (stated === 'no') {
    if (hasReasons) return [];
    return isRead
      ? [
          "REDIS_DURABLE is no and is believed, though the server's settings are durable: set it to auto",
        ]
      : [
          'REDIS_DURABLE is no: what is accepted may be lost with the server; have it keep what it acknowledges',
        ];
  }
  if (isRead) return [];
  if (closed?.startsWith('NOPERM') === true) {
    return [
      "CONFIG is closed to the relay's user, so it is not known whether what is accepted survives the server: allow it +config|get, or set REDIS_DURABLE to yes or no",
    ];
  }
  return [
    `the server does not tell its settings${closed === null ? '' : ` (${closed.split(',', 1).join('')})`}, so it is not known whether what is accepted survives it: find out, and set REDIS_DURABLE to yes or no`,
  ];
}

/** Describes risks that durable settings do not cover. */
function toWarnings(
  { replicas, isCluster, didLastWriteFail }: ServerFacts,
  waitReplicas: number,
): string[] {
  const warnings: string[] = [];
  if (didLastWriteFail)
    warnings.push('the last write to the append-only file failed: look at the disk of the server');
  if (replicas < waitReplicas) {
    warnings.push(
      `REDIS_WAIT_REPLICAS is ${waitReplicas}, and ${replicas === 0 ? 'no replica follows' : toFollowers(replicas)}: nothing is accepted until there are enough`,
    );
  }
  if (isCluster)
    warnings.push(
      'the server is a node of a cluster: make sure that the other nodes are set alike',
    );
  return warnings;
}
