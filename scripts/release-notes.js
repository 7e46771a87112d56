#!/usr/bin/env node
// scripts/release-notes.js vX.Y.Z: prints the section of the changelog for that version. Fails if the
// tag differs from the version in package.json, or if the changelog has no dated section for it.
import { readFileSync } from 'node:fs';

const tag = process.argv[2] ?? '';
/** @type {unknown} */
const manifest = JSON.parse(readFileSync('package.json', 'utf8'));
const version =
  typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : '';
if (tag !== `v${version}`) {
  console.error(`release-notes: the tag is ${tag}, but package.json has version ${version}`);
  process.exit(1);
}
const sections = readFileSync('CHANGELOG.md', 'utf8').split(/^## /m);
const section = sections.find((each) => {
  const [heading = ''] = each.split('\n');
  return (
    heading.replaceAll(/[[\]]/g, '').startsWith(`${version} `) && /\d{4}-\d{2}-\d{2}/.test(heading)
  );
});
if (section === undefined) {
  console.error(`release-notes: CHANGELOG.md has no dated section for ${version}`);
  process.exit(1);
}
console.log(section.split('\n').slice(1).join('\n').trim());
