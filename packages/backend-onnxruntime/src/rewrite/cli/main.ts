#!/usr/bin/env node
import { CommanderError } from '@commander-js/extra-typings';
import { TopKError } from '@topk-attention/core';
import { MEASURE, measureHere } from './measure.js';
import { PrintedError } from './output.js';
import { createProgram } from './program.js';

const [FAILED, USAGE, INTERRUPTED] = [1, 2, 130];

/** 0 done, 1 failed, 2 wrong use, 130 interrupted. */
async function run(args: readonly string[]): Promise<number> {
  const controller = new AbortController();
  process.once('SIGINT', () => controller.abort());
  const output = {
    out: (text: string): void => void process.stdout.write(text),
    err: (text: string): void => void process.stderr.write(text),
    signal: controller.signal,
  };
  const program = createProgram(output, await ownVersion());
  for (const command of [program, ...program.commands]) command.exitOverride();
  try {
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      // The library has printed its own message, for people.
      const message = error.message.replace(/^error: /, '');
      if (args.includes('--json')) output.out(`${JSON.stringify({ error: { code: 'USAGE', message } })}\n`);
      return USAGE;
    }
    if (controller.signal.aborted) return INTERRUPTED;
    if (error instanceof PrintedError) return FAILED;
    const code = error instanceof TopKError ? error.code : 'INTERNAL';
    const message = messageOf(error);
    if (args.includes('--json')) output.out(`${JSON.stringify({ error: { code, message } })}\n`);
    else output.err(`${code}: ${message}\n`);
    return code === 'INVALID_OPTION' || code === 'INVALID_K' ? USAGE : FAILED;
  }
}

/** Of this package. */
async function ownVersion(): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const manifest = await readFile(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { readonly version: string }).version;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const args = process.argv.slice(2);
if (args[0] === MEASURE) {
  await measureHere().catch((error: unknown) => {
    process.exitCode = FAILED;
    // In one line, which the calling process takes as the reason.
    process.stderr.write(`${messageOf(error).replaceAll('\n', ' ')}\n`);
  });
} else process.exitCode = await run(args);
