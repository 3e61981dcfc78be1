import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unpack } from './archive.ts';
import type { Availability } from './optional.ts';

const need = 'software-gpu';

/** Whether SwiftShader, a software GPU, can run here: it ships for Linux on x64. */
export function softwareGpuAvailability(): Availability {
  const here = `${process.platform} ${process.arch}`;
  if (here !== 'linux x64')
    return { need, available: false, reason: `SwiftShader ships for linux x64, this is ${here}` };
  try {
    softwareGpuEnvironment();
    return { need, available: true, reason: '' };
  } catch (error) {
    return { need, available: false, reason: `SwiftShader could not be unpacked: ${String(error)}` };
  }
}

/**
 * Environment under which the npm package `webgpu` finds SwiftShader. The dynamic linker reads it at process start,
 * so it belongs to a child process (`spawn(..., { env: { ...process.env, ...softwareGpuEnvironment() } })`) or to
 * `packageTests('name', { env: softwareGpuEnvironment() })`, which gives it to vitest's forked workers. Its `NODE_OPTIONS`
 * have Dawn wait without spinning (calm-ticks.mjs), also in the processes that a test starts. Empty where SwiftShader does
 * not run.
 */
export function softwareGpuEnvironment(): Record<string, string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return {};
  const folder = unpack('swiftshader', ['swiftshader.tar.br']);
  // SwiftShader wants a runtime folder it may write to; which one does not matter here.
  const runtime = join(tmpdir(), `topk-attention-runtime-${process.getuid?.() ?? 0}`);
  mkdirSync(runtime, { recursive: true, mode: 0o700 });
  const inherited = process.env.LD_LIBRARY_PATH;
  const calm = `--import=${new URL('./calm-ticks-here.mjs', import.meta.url).href}`;
  const options = process.env.NODE_OPTIONS ?? '';
  return {
    NODE_OPTIONS: options.includes(calm) ? options : `${options} ${calm}`.trim(),
    LD_LIBRARY_PATH: inherited ? `${folder}:${inherited}` : folder,
    VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json'),
    XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR ?? runtime,
  };
}

/** Settings for `packageTests` under which `navigator.gpu` is the software GPU; none where it does not run. */
export function softwareGpuTests(): { env?: Record<string, string>; setupFiles?: string[] } {
  if (!softwareGpuAvailability().available) return {};
  const setup = fileURLToPath(new URL('./software-gpu-setup.ts', import.meta.url));
  return { env: softwareGpuEnvironment(), setupFiles: [setup] };
}
