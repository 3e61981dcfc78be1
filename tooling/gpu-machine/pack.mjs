// Packs what a bare Linux x64 machine with a GPU needs to run the benchmarks under Node with WebGPU (Dawn on Vulkan):
// node itself, the binding of the package `webgpu`, the Vulkan loader, the bundled benchmarks and the script that runs
// them. The machine needs no network and nothing installed but its GPU driver (and python3 with torch for the torch
// columns).
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { bundle } from './bundle.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** Debian packages with the Vulkan loader and the GL libraries that drivers load. */
const LOADER_PACKAGES = ['libvulkan1', 'libegl1', 'libglvnd0', 'libopengl0', 'libgl1', 'libglx0', 'libgles2'];

function runOrThrow(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', ...options });
  if (result.error || result.status !== 0) {
    throw new Error(`${command} ${args.join(' ')} failed: ${result.error ?? result.stderr}`);
  }
  return result.stdout;
}

/** Folder of the npm package `webgpu`, as the WebGPU backend finds it. */
function bindingFolder() {
  const require = createRequire(join(here, '..', '..', 'packages', 'backend-webgpu', 'package.json'));
  return dirname(realpathSync(require.resolve('webgpu')));
}

/** Downloads the loader's packages once; returns how many are there. */
function fetchLoader(folder) {
  mkdirSync(folder, { recursive: true });
  const present = () => readdirSync(folder).filter((name) => name.endsWith('.deb')).length;
  if (present() >= LOADER_PACKAGES.length) return present();
  const lists = mkdtempSync(join(tmpdir(), 'apt-lists-'));
  mkdirSync(join(lists, 'partial'));
  const options = ['-oAPT::Architecture=amd64', '-oAPT::Architectures=amd64', `-oDir::State::Lists=${lists}`];
  try {
    runOrThrow('apt-get', [...options, 'update'], { cwd: folder });
    runOrThrow('apt-get', [...options, 'download', ...LOADER_PACKAGES], { cwd: folder });
  } catch (error) {
    console.error(`The Vulkan loader is left out (the machine must have libvulkan1): ${error.message}`);
  }
  rmSync(lists, { recursive: true });
  return present();
}

/**
 * Fills a folder for the machine. `entry` is the compiled benchmark.
 *
 * @param {{ folder: string, entry: string }} options
 */
export async function pack({ folder, entry }) {
  mkdirSync(folder, { recursive: true });
  const compressed = (from, to) => {
    if (!existsSync(to)) writeFileSync(to, gzipSync(readFileSync(from), { level: 6 }));
  };
  compressed(realpathSync(process.execPath), join(folder, `node-${process.version}.gz`));
  const binding = bindingFolder();
  const { version } = JSON.parse(readFileSync(join(binding, 'package.json'), 'utf8'));
  mkdirSync(join(folder, 'webgpu'), { recursive: true });
  for (const name of ['index.js', 'package.json'])
    copyFileSync(join(binding, name), join(folder, 'webgpu', name));
  compressed(
    join(binding, 'dist', 'linux-x64', 'dawn.node'),
    join(folder, 'webgpu', `dawn-${version}.node.gz`),
  );
  const debs = fetchLoader(join(folder, 'debs'));
  writeFileSync(join(folder, 'gpu-table.mjs'), await bundle(entry, { platform: 'node' }));
  for (const name of ['torch_baselines.py', 'run.sh', 'setup.sh'])
    copyFileSync(join(here, name), join(folder, name));
  chmodSync(join(folder, 'run.sh'), 0o755);
  return { folder, node: process.version, webgpu: version, debs };
}
