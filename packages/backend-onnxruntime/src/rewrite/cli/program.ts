import { Command, Option } from '@commander-js/extra-typings';
import { decodeModel } from '../../onnx/read-model.js';
import { readFile } from '../files/read-file.js';
import { formatReport } from '../report.js';
import { rewriteFile } from '../rewrite-file.js';
import { rewriteDecoded } from '../rewrite-model.js';
import { bench } from './bench.js';
import { between, learnedOptionsOf, named, whole, wholes } from './flags.js';
import type { Output } from './output.js';
import { verify } from './verify.js';

const FIXED = [
  '--fixed <name=number>',
  'an open extent that the model takes at one value only',
  named,
] as const;
const AT = [
  '--at <name=number>',
  'an open extent of the inputs: to give bytes for, or to run at',
  named,
] as const;
const LEARN = [
  '--learn',
  'run the model on short inputs to learn extents that cannot be told without',
] as const;
const CONTRIB_FLAG = [
  '--contrib',
  "write exact blocks that fit it as ONNX Runtime's MultiHeadAttention, which other engines lack",
] as const;
const JSON_FLAG = ['--json', 'print JSON'] as const;

const lengths = (standard: readonly number[]) =>
  new Option('--lengths <numbers>', 'lengths of the inputs that are made up, separated by commas')
    .argParser(wholes)
    .default(standard, standard.join(','));

/** What to rewrite, and how. */
const rewriting = <Args extends unknown[]>(command: Command<Args, Record<never, never>>) =>
  command
    .option('-k, --k <number>', 'keep so many keys of each query; without it attention stays exact', whole)
    .option('--feed-forward', 'compute feed-forward layers in chunks of tokens')
    .option('--feed-forward-k <number>', 'keep so many units of each token in feed-forward layers', whole)
    .addOption(
      new Option('--select <how>', 'which units: those furthest from zero, or the largest').choices([
        'magnitude',
        'signed',
      ] as const),
    )
    .option('--max-length <number>', 'keys of the longest input that the file is for', whole)
    .addOption(new Option('--target <engine>', 'what runs the file').choices(['cpu', 'webgpu'] as const))
    .option('--unrolled', 'copies of each chunk instead of loops; lengths must be fixed')
    .option(...CONTRIB_FLAG)
    .option('--chunk-bytes <number>', 'bytes of one chunk of scores', whole)
    .option(...FIXED)
    .option(...LEARN)
    .option(...AT)
    .option('--strict', 'fail if anything is left as it is')
    .option(...JSON_FLAG);

/** `topk-onnx`: what a model's attention is made of, a rewritten file, and both compared. */
export function createProgram(output: Output, version: string): Command {
  const program = new Command('topk-onnx').version(version, '-V, --version', 'print the version');
  program.description(
    'Rewrites the attention of ONNX models so that memory grows with the length, not its square.',
  );
  program.addHelpText('after', '\nExit codes: 0 done, 1 failed or different, 2 wrong use, 130 interrupted.');
  rewriting(program.command('inspect <model>'))
    .description('say which attention blocks can be rewritten, and what that saves')
    .action(async (model, flags) => {
      const original = decodeModel(await readFile(model), model);
      const { report } = rewriteDecoded(original, model, await learnedOptionsOf(model, flags));
      output.out(flags.json ? `${JSON.stringify(report)}\n` : formatReport(report, 'can be rewritten'));
    });
  rewriting(program.command('rewrite <model> <target>'))
    .description('write a rewritten model to a new file')
    .action(async (model, target, flags) => {
      const report = await rewriteFile(model, target, await learnedOptionsOf(model, flags));
      output.out(flags.json ? `${JSON.stringify(report)}\n` : `${formatReport(report)}written: ${target}\n`);
    });
  program
    .command('verify <original> [rewritten]')
    .description(
      'run two models on the same inputs, each in a process of its own, and compare; or try several k, or --contrib',
    )
    .option('-k, --k <numbers>', 'rewrite with each of these, separated by commas, and compare', wholes)
    .addOption(lengths([64, 256]))
    .option('--inputs <file>', 'JSON: an object of nested arrays by input, or an array of such objects')
    .option(...AT)
    .option(...FIXED)
    .option(...LEARN)
    .option(...CONTRIB_FLAG)
    .option('--runs <number>', 'runs of each model, of which the quickest counts', whole, 2)
    .option(
      '--tolerance <number>',
      'largest difference that passes, where no k is tried (default: 1e-4, with outputs in half precision 5e-3)',
      between(0, Number.POSITIVE_INFINITY),
    )
    .option('--cosine <number>', 'smallest cosine that a k may lead to', between(-1, 1), 0.99)
    .option(...JSON_FLAG)
    .action((original, rewritten, flags) => verify(original, rewritten, flags, output));
  program
    .command('bench <models...>')
    .description('time and memory of models at growing lengths, each run in a process of its own')
    .addOption(lengths([128, 512, 2048]))
    .option(...AT)
    .option(
      '--contrib',
      "measure each model rewritten exactly too: in standard operators, and with ONNX Runtime's own",
    )
    .option('--runs <number>', 'runs, of which the quickest counts', whole, 2)
    .option(...JSON_FLAG)
    .action((models, flags) => bench(models, flags, output));
  return program;
}
