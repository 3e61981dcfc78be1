import { type Io, runCommandLine } from '@topk-attention/app-kit/node';
import { createProgram } from '../src/program.js';
import { type Outcome, PROGRESS } from './cli-support.js';

/** As of someone at a terminal who types nothing: commands ask no more of a stream that they do not read. */
const terminal: typeof process.stdin = Object.create(process.stdin, { isTTY: { value: true } });

/**
 * Runs a command line in this process, in half the time of a process, where that is not the point. Its engine is still a
 * process, which only built code can start, unless the test has
 * `vi.mock('../src/engine/engine-child.js', () => import('./engine-here.js'))`.
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
