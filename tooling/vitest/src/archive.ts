import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

const require = createRequire(import.meta.url);
const repositoryRoot = fileURLToPath(new URL('../../..', import.meta.url));

/** The npm package that carries a headless Chromium and SwiftShader, a Vulkan driver that runs on the CPU. */
function chromiumPackage(): { readonly bin: string; readonly version: string } {
  // The package exports no package.json; its entry is build/index.js.
  const folder = dirname(dirname(require.resolve('@sparticuz/chromium')));
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return { bin: join(folder, 'bin'), version };
}

/** Files, folders and symbolic links of an uncompressed tar archive, which is all that these archives hold. */
function extractTar(archive: Buffer, folder: string): void {
  const text = (start: number, length: number): string => {
    const end = archive.indexOf(0, start);
    return archive.toString('utf8', start, end >= 0 && end < start + length ? end : start + length);
  };
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const prefix = text(at + 345, 155);
    const name = prefix === '' ? text(at, 100) : `${prefix}/${text(at, 100)}`;
    const mode = Number.parseInt(text(at + 100, 8), 8);
    const size = Number.parseInt(text(at + 124, 12), 8);
    const kind = text(at + 156, 1);
    const target = join(folder, name);
    mkdirSync(dirname(target), { recursive: true });
    if (kind === '5') mkdirSync(target, { recursive: true });
    else if (kind === '2') symlinkSync(text(at + 157, 100), target);
    else if (kind === '0' || kind === '') {
      writeFileSync(target, archive.subarray(at + 512, at + 512 + size));
      chmodSync(target, mode & 0o777);
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

type Archive = 'chromium.br' | 'swiftshader.tar.br' | 'al2023.tar.br';

/**
 * Unpacks archives of the Chromium package once, into one folder, and returns it. Several processes may ask at the
 * same time: each unpacks beside the final place, and the first to rename wins.
 */
export function unpack(name: string, archives: readonly Archive[]): string {
  const { bin, version } = chromiumPackage();
  const folder = join(repositoryRoot, 'node_modules', '.cache', 'topk-attention', `${name}-${version}`);
  if (existsSync(folder)) return folder;
  const partial = `${folder}.${process.pid}.${Date.now()}`;
  mkdirSync(partial, { recursive: true });
  for (const archive of archives) {
    const content = brotliDecompressSync(readFileSync(join(bin, archive)));
    if (archive.includes('.tar.')) extractTar(content, partial);
    else writeFileSync(join(partial, 'chromium'), content, { mode: 0o755 });
  }
  try {
    renameSync(partial, folder);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}
