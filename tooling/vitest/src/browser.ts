import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { type Browser, chromium, type LaunchOptions } from 'playwright-core';
import { unpack } from './archive.ts';
import type { Availability } from './optional.ts';

const need = 'browser';

/**
 * A container as root needs the first flag, WebGPU without a GPU the second; without the third SwiftShader takes four
 * times as long to compile a kernel with workgroup memory.
 */
const flags = ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-dawn-features=disable_workgroup_init'];

type Start = { readonly path: string; readonly env: Record<string, string> };

let found: Start | string | undefined;

function environment(extra: Record<string, string>): Record<string, string> {
  const own = Object.entries(process.env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  );
  return { ...Object.fromEntries(own), ...extra };
}

/** How to start Chromium here, or why it cannot start. Asked once per process. */
function findBrowser(): Start | string {
  const here = `${process.platform} ${process.arch}`;
  if (here !== 'linux x64') return `the npm package of Chromium ships for linux x64, this is ${here}`;
  try {
    // Chromium looks for SwiftShader, its software GPU, beside its own executable.
    const folder = unpack('chromium', ['chromium.br', 'swiftshader.tar.br']);
    const path = join(folder, 'chromium');
    let reason = 'unknown';
    // A bare machine may lack system libraries; the package brings a set of them, used only if the first try fails.
    for (const libraries of [undefined, () => unpack('libraries', ['al2023.tar.br'])]) {
      const env: Record<string, string> = libraries ? { LD_LIBRARY_PATH: join(libraries(), 'lib') } : {};
      const probe = spawnSync(path, ['--version'], {
        env: environment(env),
        encoding: 'utf8',
        timeout: 300_000,
      });
      if (probe.status === 0) return { path, env };
      reason = probe.stderr?.trim().split('\n')[0] || String(probe.error ?? probe.signal ?? probe.status);
    }
    return `Chromium does not start: ${reason}`;
  } catch (error) {
    return `Chromium could not be unpacked: ${String(error)}`;
  }
}

/** Whether headless Chromium from npm can start on this machine. */
export function browserAvailability(): Availability {
  found ??= findBrowser();
  return typeof found === 'string'
    ? { need, available: false, reason: found }
    : { need, available: true, reason: '' };
}

/**
 * Starts headless Chromium with WebGPU on the CPU. The caller closes it.
 *
 * @example
 * const browser = await launchBrowser();
 * const page = await browser.newPage();
 * await page.goto('http://localhost:...'); // navigator.gpu needs a secure context: localhost or https
 */
export async function launchBrowser(options: LaunchOptions = {}): Promise<Browser> {
  found ??= findBrowser();
  if (typeof found === 'string') throw new Error(found);
  return chromium.launch({
    ...options,
    executablePath: found.path,
    headless: true,
    env: environment(found.env),
    args: [...flags, ...(options.args ?? [])],
  });
}
