/** What the cache on disk needs of Node, Deno or Bun. */
export interface NodeModules {
  readonly fs: typeof import('node:fs/promises');
  readonly path: typeof import('node:path');
  readonly os: typeof import('node:os');
  readonly crypto: typeof import('node:crypto');
}

/** Undefined in browsers. Imported through variables, so that bundlers for the browser ignore them. */
export async function nodeModules(): Promise<NodeModules | undefined> {
  if (typeof process !== 'object' || typeof process.versions?.node !== 'string') return undefined;
  const load = (name: string) => import(/* @vite-ignore */ /* webpackIgnore: true */ `node:${name}`);
  const [fs, path, os, crypto] = await Promise.all(['fs/promises', 'path', 'os', 'crypto'].map(load));
  return { fs, path, os, crypto };
}
