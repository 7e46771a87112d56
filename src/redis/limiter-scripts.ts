import { burstShare, endpoints } from '../model/limiter.js';
import { loadScript } from './load-script.js';

const keys = [
  ':meta',
  ...endpoints.flatMap((endpoint) => [
    `:${endpoint}:flight`,
    `:${endpoint}:ended`,
    `:${endpoint}:foreign`,
  ]),
];

const loadLimiterScript = (name: string) =>
  loadScript(new URL(`lua/${name}.lua`, import.meta.url), { keys, constants: { burstShare } });

/** The scripts of the shared limiter; each file describes its arguments and its reply. */
export const limiterScripts = {
  acquire: loadLimiterScript('limiter-acquire'),
  end: loadLimiterScript('limiter-end'),
  cancel: loadLimiterScript('limiter-cancel'),
  pause: loadLimiterScript('limiter-pause'),
  report: loadLimiterScript('limiter-report'),
  readGeneration: loadLimiterScript('limiter-read-generation'),
};
