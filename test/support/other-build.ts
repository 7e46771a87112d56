import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type OtherBuild = { readonly main: string; remove(): Promise<void> };

const root = new URL('../../', import.meta.url).pathname;
const script = 'export function toScript(name, keys, lua) {';

/** The built relay once more, of another version as far as Redis can see: each of its scripts has another digest. */
export async function makeOtherBuild(): Promise<OtherBuild> {
  const directory = await mkdtemp(join(tmpdir(), 'relay-build-'));
  for (const name of ['dist', 'package.json'])
    await cp(join(root, name), join(directory, name), { recursive: true });
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  const path = join(directory, 'dist/redis/connection.js');
  const code = await readFile(path, 'utf8');
  if (!code.includes(script)) throw new Error('the scripts are made elsewhere');
  await writeFile(
    path,
    code.replace(script, `${script}\n    lua = '-- another version\\n' + lua;`),
  );
  return {
    main: join(directory, 'dist/main.js'),
    remove: () => rm(directory, { recursive: true }),
  };
}
