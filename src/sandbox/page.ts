import { createHash } from 'node:crypto';
import { pageScript } from './page-script.js';
import { pageStyle } from './page-style.js';

/** The page at `/`: static, self-contained, filled by its script from the JSON under `/sandbox`. */
export const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Klaviyo sandbox</title>
<link rel="icon" href="data:,">
<style>${pageStyle}</style>
</head>
<body>
<header>
  <div class="title">
    <h1>Klaviyo sandbox</h1>
    <p>A local stand-in. Nothing here reaches Klaviyo.</p>
  </div>
  <p id="state" role="status">connecting</p>
</header>
<dl id="counters"></dl>
<main>
  <section class="wide" aria-labelledby="feed-title">
    <h2 id="feed-title">Activity feed</h2>
    <div class="scroll"><table id="feed">
      <thead><tr><th>Time</th><th>Metric</th><th>Backfill</th><th>Who</th><th class="number">Value</th></tr></thead>
      <tbody></tbody>
    </table></div>
  </section>
  <section aria-labelledby="requests-title">
    <h2 id="requests-title">Requests</h2>
    <div class="scroll"><table id="requests">
      <thead><tr><th>Time</th><th>Endpoint</th><th class="number">Count</th><th class="number">Size</th><th class="number">Status</th><th>Revision</th></tr></thead>
      <tbody></tbody>
    </table></div>
  </section>
  <section class="wide" aria-labelledby="profiles-title">
    <h2 id="profiles-title">Profiles</h2>
    <div class="scroll"><table id="profiles">
      <thead><tr><th>Who</th><th>Name</th><th>Properties</th><th>Updated</th></tr></thead>
      <tbody></tbody>
    </table></div>
  </section>
  <section aria-labelledby="imports-title">
    <h2 id="imports-title">Import jobs</h2>
    <div class="scroll"><table id="imports">
      <thead><tr><th>Started</th><th>Status</th><th class="number">Profiles</th><th class="number">Failed</th></tr></thead>
      <tbody></tbody>
    </table></div>
  </section>
</main>
<script>${pageScript}</script>
</body>
</html>
`;

/** The policy allows this very style and script, and no other, whatever gets into the page. */
export const pageHeaders: Readonly<Record<string, string>> = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': [
    "default-src 'none'",
    `style-src ${toSource(pageStyle)}`,
    `script-src ${toSource(pageScript)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
};

/** A CSP source expression that lets exactly this text run. */
function toSource(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}
