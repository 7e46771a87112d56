import { describe, expect, it } from 'vitest';
import { loadConfig, type Environment } from '../../src/config/config.js';
import { createLiveSettings } from '../../src/app/live-settings.js';

const configure = (env: Environment) => loadConfig({ KLAVIYO_API_KEY: 'pk_1', ...env });

describe('settings that are reloaded', () => {
  it('include keys and secrets and nothing else', () => {
    const keys = { RELAY_API_KEYS: 'ingest-key-1', STRIPE_WEBHOOK_SECRETS: 'whsec_first' };
    const live = createLiveSettings(configure({ ...keys, PORT: '1' }));
    const next = configure({ ...keys, PORT: '2', RELAY_API_KEYS: 'ingest-key-2' });
    expect(live.reload(next)).toEqual({ changed: ['RELAY_API_KEYS'], kept: [] });
    expect(live.settings.RELAY_API_KEYS).toEqual(['ingest-key-2']);
    expect(live.settings.PORT).toBe(1);
  });

  it('keep a relay without keys open, and one with keys closed', () => {
    const open = createLiveSettings(configure({}));
    const [why] = open.reload(configure({ RELAY_API_KEYS: 'ingest-key-1' })).kept;
    expect(why).toBe('RELAY_API_KEYS: a restart is needed to begin or to end the check of keys');
    expect(open.settings.RELAY_API_KEYS).toEqual([]);
    const closed = createLiveSettings(configure({ RELAY_API_KEYS: 'ingest-key-1' }));
    expect(closed.reload(configure({})).changed).toEqual([]);
    expect(closed.settings.RELAY_API_KEYS).toEqual(['ingest-key-1']);
  });

  it('do not include the Klaviyo key with Redis, because the stored envelopes belong to one account', () => {
    const redis = { STORE: 'redis', REDIS_URL: 'redis://127.0.0.1' };
    const live = createLiveSettings(configure(redis));
    const { changed, kept } = live.reload(configure({ ...redis, KLAVIYO_API_KEY: 'pk_2' }));
    expect(changed).toEqual([]);
    expect(kept.join()).toMatch(/^KLAVIYO_API_KEY: a restart is needed with STORE=redis/);
    expect(live.settings.KLAVIYO_API_KEY).toBe('pk_1');
  });
});
