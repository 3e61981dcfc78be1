import type { Named } from './flags.js';
import { measure } from './measure.js';
import type { Output } from './output.js';
import { type Costs, costsOf, mebibytes, table } from './table.js';
import { trialsOf } from './trials.js';

/** Time and memory of models at several lengths. */
export async function bench(
  models: readonly string[],
  flags: {
    readonly lengths: readonly number[];
    readonly at?: Named | undefined;
    readonly runs: number;
    readonly json?: true | undefined;
  },
  output: Output,
): Promise<void> {
  const rows: ({ readonly model: string; readonly inputs: string } & Costs)[] = [];
  for (const model of models) {
    for (const { label, inputs, fix } of await trialsOf(model, flags.lengths, flags.at ?? {})) {
      output.err(`${model}, ${label}\n`);
      rows.push({
        model,
        inputs: label,
        ...costsOf(await measure({ model, inputs, fix, runs: flags.runs }, output.signal)),
      });
    }
  }
  if (flags.json) output.out(`${JSON.stringify({ rows })}\n`);
  else {
    output.out(
      table(
        ['model', 'inputs', 'ms', 'MiB'],
        rows.map((row) => [row.model, row.inputs, row.milliseconds.toFixed(0), mebibytes(row)]),
      ),
    );
  }
}
