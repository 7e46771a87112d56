import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path/posix';

/** A link to something inside the repository. Paths are relative to the repository's root. */
export type Link = { readonly page: string; readonly target: string; readonly anchor: string };

const root = new URL('../../', import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');

/** Every Markdown page of the repository, sorted. */
export function findPages(): readonly string[] {
  const top = readdirSync(root).filter((name) => name.endsWith('.md'));
  const below = ['docs', 'test', 'bench', '.github'].flatMap((folder) =>
    readdirSync(new URL(`${folder}/`, root), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`),
  );
  return [...top, ...below].sort();
}

/** The links of a page to files and headings of this repository; links to the web are left out. */
export function findLinks(page: string): readonly Link[] {
  const text = withoutCode(read(page));
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, address = '']) => address)
    .filter((address) => !/^[a-z]+:/i.test(address))
    .map((address) => {
      const [path = '', anchor = ''] = address.split('#');
      return { page, target: path === '' ? page : normalize(join(dirname(page), path)), anchor };
    });
}

/** Each broken link of a page as a sentence: the file does not exist, or the page lacks the heading. */
export function findBrokenLinks(page: string): readonly string[] {
  return findLinks(page).flatMap(({ target, anchor }) => {
    const fault = findBrokenTarget(`${target}#${anchor}`);
    return fault === null ? [] : [`${page}: ${fault}`];
  });
}

/** Says why no such heading or file exists, or returns null. The address is a path in the repository, with or without an anchor. */
export function findBrokenTarget(address: string): string | null {
  const [target = '', anchor = ''] = address.split('#');
  if (!existsSync(new URL(target, root))) return `${target} does not exist`;
  return anchor === '' || toAnchors(read(target)).has(anchor)
    ? null
    : `${target} has no heading for #${anchor}`;
}

const withoutCode = (text: string): string => text.replace(/^```.*?^```/gms, '');

/** The anchors of a page's headings, as GitHub makes them. */
function toAnchors(text: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const [, heading = ''] of withoutCode(text).matchAll(/^#{1,6} +(.+)$/gm)) {
    const slug = heading
      .toLowerCase()
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    let anchor = slug;
    // GitHub numbers repeated headings.
    for (let count = 1; anchors.has(anchor); count++) anchor = `${slug}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}
