import { rewriteFile } from '../rewrite-file.js';
import type { Named } from './flags.js';
import { measure } from './measure.js';
import type { Output } from './output.js';
import { type Costs, costsOf, mebibytes, table } from './table.js';
import { trialsOf } from './trials.js';
import { withFolder } from './with-folder.js';

interface BenchFlags {
  readonly lengths: readonly number[];
  readonly at?: Named | undefined;
  readonly contrib?: true | undefined;
  readonly runs: number;
  readonly json?: true | undefined;
}

interface BenchRow extends Costs {
  readonly model: string;
  /** How the model is rewritten; undefined as it is. */
  readonly form?: string;
  readonly inputs: string;
}

/** Time and memory of models at several lengths, and of the same models rewritten exactly, without and with ONNX Runtime's own operator. */
export async function bench(models: readonly string[], flags: BenchFlags, output: Output): Promise<void> {
  const rows: BenchRow[] = [];
  for (const model of models) {
    const trials = await trialsOf(model, flags.lengths, flags.at ?? {});
    const measured = async (file: string, form?: string): Promise<void> => {
      for (const { label, inputs, fix } of trials) {
        output.err(`${nameOf(model, form)}, ${label}\n`);
        const costs = costsOf(await measure({ model: file, inputs, fix, runs: flags.runs }, output.signal));
        rows.push({ model, ...(form !== undefined && { form }), inputs: label, ...costs });
      }
    };
    await measured(model);
    for (const form of flags.contrib ? FORMS : []) {
      await withFolder(async (folder) => {
        const target = `${folder}/model.onnx`;
        await rewriteFile(model, target, form.options);
        await measured(target, form.name);
      });
    }
  }
  if (flags.json) output.out(`${JSON.stringify({ rows })}\n`);
  else {
    output.out(
      table(
        ['model', 'inputs', 'ms', 'MiB'],
        rows.map((row) => [
          nameOf(row.model, row.form),
          row.inputs,
          row.milliseconds.toFixed(0),
          mebibytes(row),
        ]),
      ),
    );
  }
}

const FORMS = [
  { name: 'exact', options: {} },
  { name: 'exact, contrib', options: { contrib: true } },
] as const;

function nameOf(model: string, form: string | undefined): string {
  return form === undefined ? model : `${model} (${form})`;
}
