import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/config.js';
import { sourceSecrets } from '../sources/list.js';

/** What `reload` replaces while the relay runs: keys, which may come from files, and the mapping file. */
const reloadable = [
  'KLAVIYO_API_KEY',
  'RELAY_API_KEYS',
  'RELAY_ADMIN_KEYS',
  ...sourceSecrets,
  'MAPPING_FILE',
] as const satisfies readonly (keyof Config)[];
type Reloadable = (typeof reloadable)[number];

export type Reloaded = {
  /** The settings that have a new value. */
  readonly changed: readonly Reloadable[];
  /** Those whose new value needs a restart, and why. */
  readonly kept: readonly string[];
};

export type LiveSettings = {
  /** The settings in use. Parts read those that `reload` replaces at each use. */
  readonly settings: Config;
  reload(next: Config): Reloaded;
};

export function createLiveSettings(config: Config): LiveSettings {
  const settings = { ...config };
  return {
    settings,
    reload(next) {
      const differing = reloadable.filter((name) => !isDeepStrictEqual(settings[name], next[name]));
      const kept: string[] = [];
      const changed = differing.filter((name) => {
        const why = findReasonToKeep(name, settings, next);
        if (why !== null) kept.push(`${name}: ${why}`);
        return why === null;
      });
      Object.assign(settings, Object.fromEntries(changed.map((name) => [name, next[name]])));
      return { changed, kept };
    },
  };
}

/** Why a running relay must not take a new value. Null where it may. */
function findReasonToKeep(name: Reloadable, current: Config, next: Config): string | null {
  switch (name) {
    // Whether anybody may post decides about hooks, and about the address to listen on.
    case 'RELAY_API_KEYS':
    case 'RELAY_ADMIN_KEYS':
      return isOpen(current) === isOpen(next)
        ? null
        : 'a restart is needed to begin or to end the check of keys';
    // What is in Redis belongs to one account, which is checked when the relay starts.
    case 'KLAVIYO_API_KEY':
      return current.STORE === 'redis'
        ? 'a restart is needed with STORE=redis, which checks that it is of the same account'
        : null;
    default:
      return null;
  }
}

const isOpen = ({ RELAY_API_KEYS, RELAY_ADMIN_KEYS }: Config): boolean =>
  RELAY_API_KEYS.length + RELAY_ADMIN_KEYS.length === 0;
