/**
 * The page at `/`. It is one self-contained document: page.css and page.js are put into page.html, and
 * the content security policy allows this style and this script alone, by their hashes. The script
 * fills the page from the JSON under `/sandbox`.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const html = readFileSync(new URL('./page.html', import.meta.url), 'utf8');
const style = readFileSync(new URL('./page.css', import.meta.url), 'utf8');
const script = readFileSync(new URL('./page.js', import.meta.url), 'utf8');

// Replacement functions, because `$` has a meaning in a replacement text.
export const page = html
  .replace('<style></style>', () => `<style>${style}</style>`)
  .replace('<script></script>', () => `<script>${script}</script>`);

export const pageHeaders: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': [
    "default-src 'none'",
    `style-src ${toCspSource(style)}`,
    `script-src ${toCspSource(script)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
};

/** The source expression of a content security policy that allows exactly this text. */
function toCspSource(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
