import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type OtherBuild = { readonly main: string; remove(): Promise<void> };

const root = new URL('../../', import.meta.url).pathname;
const script = 'export function toScript(name, keys, lua) {';

/** Copies the built relay and changes the digest of each Lua script, as another version of the relay would. */
export async function makeOtherBuild(): Promise<OtherBuild> {
  const directory = await mkdtemp(join(tmpdir(), 'relay-build-'));
  for (const name of ['dist', 'package.json'])
    await cp(join(root, name), join(directory, name), { recursive: true });
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'));
  const path = join(directory, 'dist/redis/connection.js');
  const code = await readFile(path, 'utf8');
  if (!code.includes(script)) throw new Error('dist/redis/connection.js does not contain toScript');
  await writeFile(
    path,
    code.replace(script, `${script}\n    lua = '-- another version\\n' + lua;`),
  );
  return {
    main: join(directory, 'dist/main.js'),
    remove: () => rm(directory, { recursive: true }),
  };
}
