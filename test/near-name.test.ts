import { expect, it } from 'vitest';
import { findNearName } from '../src/near-name.js';

const known = ['--port', '--host', '--data-dir', 'KLAVIYO_API_KEY', 'RELAY_API_KEYS', 'PORT'];

it.each([
  ['--prot', '--port'],
  ['--datadir', '--data-dir'],
  ['--data_dir', '--data-dir'],
  ['klaviyo_api_key', 'KLAVIYO_API_KEY'],
  ['KLAVIYO_APIKEY', 'KLAVIYO_API_KEY'],
  ['KLAVIYO_KEY', 'KLAVIYO_API_KEY'],
  ['KLAVIYO_KEY_API', 'KLAVIYO_API_KEY'],
  ['RELAY_API_KEY', 'RELAY_API_KEYS'],
  ['RELAY_INGEST_API_KEYS', 'RELAY_API_KEYS'],
])('findNearName finds for %s the name %s', (name, near) => {
  expect(findNearName(name, known)).toBe(near);
});

it.each([
  '--port',
  'KLAVIYO_API_KEY',
  '--verbose',
  'RELAY_SERVICE_HOST',
  'KLAVIYO_RELAY_PORT',
  'A',
])('findNearName finds no other name for %s', (name) => {
  expect(findNearName(name, known)).toBeNull();
});

it('findNearName finds a name only within the given number of edits', () => {
  expect(findNearName('HOST', ['POST'], 1)).toBe('POST');
  expect(findNearName('HOST', ['POST'], 0)).toBeNull();
});
