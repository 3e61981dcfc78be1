import { type Io, runCommandLine } from '@topk-attention/app-kit/node';
import { createProgram } from '../src/program.js';
import { type Outcome, PROGRESS } from './cli-support.js';

/** As of someone at a terminal who types nothing: commands ask no more of a stream that they do not read. */
const terminal: typeof process.stdin = Object.create(process.stdin, { isTTY: { value: true } });

/**
 * Runs a command line in this process, in half the time of a process, where that is not the point. Its engine is here too:
 * engine-here.ts and inspect-here.ts stand in for the modules that start others (vitest.config.ts).
 */
export async function runProgram(args: readonly string[]): Promise<Outcome> {
  let stdout = '';
  let stderr = '';
  const io: Io = {
    stdin: terminal,
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
    signal: new AbortController().signal,
  };
  const code = await runCommandLine(createProgram(io), args, io);
  return { code, stdout, stderr: stderr.replace(PROGRESS, '') };
}
