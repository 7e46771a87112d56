import { z } from 'zod';
import type { RateWindow } from './envelope.js';
import { toAddress } from './redis/address.js';

export const anyInt = (min: number, max: number) =>
  z.coerce
    .number({ error: 'must be a whole number' })
    .int('must be a whole number')
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`);

export const int = (min: number, max: number, fallback: number) =>
  anyInt(min, max).default(fallback);

export const keys = z
  .string()
  .default('')
  .transform((text) =>
    text
      .split(/[,\n]/)
      .map((key) => key.trim())
      .filter((key) => key !== ''),
  )
  .refine(
    (list) => list.every((key) => key.length >= 8),
    'each key must have at least 8 characters',
  );

export const windows = z.string().transform((text, context): readonly RateWindow[] => {
  if (text.trim() === 'off') return [];
  return text.split(',').map((part) => {
    const [, limit, seconds] = /^\s*(\d+)\/(\d+)s\s*$/.exec(part) ?? [];
    if (!(Number(limit) > 0 && Number(seconds) > 0)) {
      context.addIssue(`must look like 10/1s,150/60s or be off; "${part.trim()}" does not`);
      return z.NEVER;
    }
    return { limit: Number(limit), windowMs: Number(seconds) * 1000 };
  });
});

export const redisUrl = z.string().transform((text, context) => {
  try {
    return toAddress(text);
  } catch (error) {
    // What is wrong with it, and never the URL: a password may be in it.
    context.addIssue(error instanceof Error ? error.message : 'cannot be read');
    return z.NEVER;
  }
});

export const url = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' });
