import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/config.js';
import { sourceSecrets } from '../sources/list.js';

/** The settings that `reload` replaces while the relay runs: keys and secrets, which can come from files, and the mapping file. */
const reloadable = [
  'KLAVIYO_API_KEY',
  'RELAY_API_KEYS',
  'RELAY_ADMIN_KEYS',
  ...sourceSecrets,
  'MAPPING_FILE',
] as const satisfies readonly (keyof Config)[];
type Reloadable = (typeof reloadable)[number];

export type Reloaded = {
  /** The settings that have a new value now. */
  readonly changed: readonly Reloadable[];
  /** One text for each setting whose new value needs a restart: its name and the reason. */
  readonly kept: readonly string[];
};

export type LiveSettings = {
  /** The settings in use. `reload` changes this object, so parts read a reloadable setting at each use. */
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

/** Returns why a running relay must keep the current value; null if it can take the new one. */
function findReasonToKeep(name: Reloadable, current: Config, next: Config): string | null {
  switch (name) {
    // Whether keys are checked at all decides which hooks are installed and which address is allowed.
    case 'RELAY_API_KEYS':
    case 'RELAY_ADMIN_KEYS':
      return isOpen(current) === isOpen(next)
        ? null
        : 'a restart is needed to begin or to end the check of keys';
    // The data in Redis belongs to one Klaviyo account, and the account is checked when the relay starts.
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
