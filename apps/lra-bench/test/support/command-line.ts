import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Io, runCommandLine } from '@topk-attention/app-kit/node';
import { afterAll } from 'vitest';
import type { Host } from '../../src/host.js';
import { nodeHost } from '../../src/node-host.js';
import { createProgram } from '../../src/program.js';

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process. */
export async function lra(
  args: readonly string[],
  signal?: AbortSignal,
  host: Host = nodeHost,
): Promise<Outcome> {
  const written = { stdout: '', stderr: '' };
  const io: Io = {
    stdin: process.stdin,
    stdout: { write: (text: string) => (written.stdout += text) },
    stderr: { write: (text: string) => (written.stderr += text) },
    signal: signal ?? new AbortController().signal,
  };
  const code = await runCommandLine(createProgram(io, host), args, io);
  return { code, ...written };
}

/** Of options that are given twice, the last one. */
export function lastOfEach(args: readonly string[]): readonly string[] {
  const nameAt = (at: number): string | undefined =>
    [args[at], args[at - 1]].find((text) => text?.startsWith('--'));
  return args.filter((_, at) => {
    const name = nameAt(at);
    return name === undefined || args.lastIndexOf(name) <= (args[at] === name ? at : at - 1);
  });
}

/** What every command prints with `--json` when it fails. */
export interface JsonError {
  readonly error: { readonly code: string; readonly message: string; readonly fix?: string };
}

/** The error of a command line with `--json`, which must fail. */
export async function errorOf(args: readonly string[]): Promise<JsonError['error']> {
  const { code, stdout } = await lra([...args, '--json']);
  if (code === 0) throw new Error(`nothing failed: ${stdout}`);
  return (JSON.parse(stdout) as JsonError).error;
}

/** A folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lra-bench-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
