/** Where the files are, beside this package's code. A bundled page passes its own address. */
export const goldensFolder: URL = new URL('../../../goldens/', import.meta.url);

/** What a golden file holds, from the disk or from a server. */
export async function readBytes(url: URL): Promise<Uint8Array> {
  if (url.protocol === 'file:') {
    // Named by a variable, so that bundlers for browsers do not look for it.
    const nodeModule = 'node:fs/promises';
    const { readFile }: typeof import('node:fs/promises') = await import(/* @vite-ignore */ nodeModule);
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`golden file ${url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** A JSON file of the type that the generator in tooling/goldens writes. */
export async function readJson<T>(url: URL): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await readBytes(url)));
}
