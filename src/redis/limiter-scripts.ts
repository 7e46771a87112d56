import { loadScript } from './load-script.js';

const endpoints = ['events', 'profiles', 'imports'];
const keys = [
  ':meta',
  ...endpoints.flatMap((endpoint) => [
    `:${endpoint}:flight`,
    `:${endpoint}:ended`,
    `:${endpoint}:foreign`,
  ]),
];

const load = (name: string) => loadScript(new URL(`lua/${name}.lua`, import.meta.url), { keys });

/** The scripts of the shared limiter; each file describes its arguments and its reply. */
export const limiterScripts = {
  acquire: load('limiter-acquire'),
  end: load('limiter-end'),
  cancel: load('limiter-cancel'),
  pause: load('limiter-pause'),
  report: load('limiter-report'),
  readGeneration: load('limiter-read-generation'),
};
