// What is built, and where it ends up.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The npm package whose native binding is built. */
export const tfjsNodeVersion = '4.22.0';

/** Node-API's C headers from npm: the same for every Node, so none have to be downloaded for the one that runs. */
export const nodeApiHeadersVersion = '1.9.0';

/**
 * The Python wheel that TensorFlow's C library is taken from. The one for CPython 3.11, though nothing here runs
 * Python: the library inside does not depend on it, and one file can be pinned by its checksum.
 */
export const wheel = {
  project: 'tensorflow-cpu',
  version: '2.21.0',
  file: 'tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl',
  sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
};

const caches = fileURLToPath(new URL('../../node_modules/.cache/topk-attention', import.meta.url));

/** The finished build. It exists only as a whole: everything is made beside it and renamed at the end. */
export const buildFolder = join(caches, `tfjs-node-${tfjsNodeVersion}-tensorflow-${wheel.version}`);

/** Why this machine cannot build it at all, if it cannot. */
export function unsupportedPlatform(platform = process.platform, arch = process.arch) {
  return platform === 'linux' && arch === 'x64'
    ? undefined
    : `it is built for linux x64, this is ${platform} ${arch}`;
}

/** @returns {boolean} */
export function isBuilt() {
  return existsSync(join(buildFolder, 'build.json'));
}
