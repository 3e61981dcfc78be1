// One method in a process of its own: prints its peak memory. Called by `memory.ts` with a JSON argument.

import { peakBytes, restartPeak } from '../../../tooling/scripts/bench-helpers.mjs';
import { loadEngine, type Tf } from './engines.js';
import { timed } from './measure.js';
import type { MemoryTask } from './memory.js';
import { methodNamed } from './methods.js';
import { arraysOf, disposeQueries, firstQueries, inputsOf, withRandomLists } from './setup.js';

const task: MemoryTask = JSON.parse(process.argv[2] ?? '{}');
const loaded = await loadEngine(task.engine, task.threads);
const { tf } = loaded;
const method = methodNamed(task.pass, task.method);
const runner = await method.open(loaded);
// Random lists take the memory that real ones do, without a forward pass whose memory would be counted.
const made = inputsOf(tf, arraysOf(task.setup));
const inputs = task.pass === 'backward' && method.usesK ? withRandomLists(tf, made) : made;
// Code and pools of the engine that any work makes.
const few = firstQueries(tf, inputs, Math.min(4, task.setup.queries));
await timed(loaded, runner, few, { heads: task.tile.heads, queries: Math.min(4, task.tile.queries) });
disposeQueries(few);

collectGarbage();
const tensors = countTensors(tf);
const before = restartPeak();
const milliseconds = await timed(loaded, runner, inputs, task.tile);
const peak = peakBytes() - before;
process.stdout.write(`\n${JSON.stringify({ peak, tensors: tensors.peak(), milliseconds })}\n`);
process.exit(0);

/** The most bytes that tf's tensors have at once from now on, beyond those of now. */
function countTensors(counted: Tf): { peak(): number } {
  const engine = counted.engine();
  const first = engine.state.numBytes;
  let most = first;
  const track = engine.trackTensor.bind(engine);
  engine.trackTensor = (tensor, backend) => {
    track(tensor, backend);
    most = Math.max(most, engine.state.numBytes);
  };
  return { peak: () => most - first };
}

/** The arrays that the inputs were made of: memory that is free to be used again would hide what the method needs. */
function collectGarbage(): void {
  const collect: unknown = Reflect.get(globalThis, 'gc');
  if (typeof collect !== 'function') throw new Error('run with --expose-gc');
  for (let time = 0; time < 3; time++) collect();
}
