// Inlines shader text: beside every NAME.wgsl of a package's sources is NAME.wgsl.ts, the same text as a string, so that
// source, build and packed package need neither a loader nor a file at run time. `node tooling/wgsl/inline.mjs` writes
// what is stale; `pnpm check shaders` says what is.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** @param {string} folder */
function sourcesOf(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** @param {string} file */
function moduleOf(file) {
  const text = JSON.stringify(readFileSync(file, 'utf8').trimEnd());
  return `// Made from ${basename(file)} by tooling/wgsl/inline.mjs.\nexport const text: string =\n  ${text};\n`;
}

/**
 * Modules that differ from their shader files or have none; `text: undefined` where there should be none.
 *
 * @returns {{ file: string, text: string | undefined }[]}
 */
function stale() {
  const folders = readdirSync(join(root, 'packages'))
    .map((name) => join(root, 'packages', name, 'src'))
    .filter((folder) => existsSync(folder));
  const files = folders.flatMap(sourcesOf).sort();
  const shaders = files.filter((file) => file.endsWith('.wgsl'));
  const wanted = new Map(shaders.map((file) => [`${file}.ts`, moduleOf(file)]));
  const orphans = files.filter((file) => file.endsWith('.wgsl.ts') && !wanted.has(file));
  return [
    ...orphans.map((file) => ({ file, text: undefined })),
    ...Array.from(wanted, ([file, text]) => ({ file, text })).filter(
      ({ file, text }) => !existsSync(file) || readFileSync(file, 'utf8') !== text,
    ),
  ];
}

/** Makes every module match its shader file. */
export function inlineShaders() {
  for (const { file, text } of stale()) {
    if (text === undefined) rmSync(file);
    else writeFileSync(file, text);
  }
}

/** What is stale, in words. */
export function staleShaders() {
  return stale().map(
    ({ file }) =>
      `${relative(root, file)} does not match its shader file; run \`node tooling/wgsl/inline.mjs\``,
  );
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) inlineShaders();
