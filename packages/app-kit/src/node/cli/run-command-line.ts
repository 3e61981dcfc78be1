import { CommanderError, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { describeError, reportOf, UsageError } from '../../errors.js';
import { exitCodeOf } from './exit-code.js';
import { type Io, note, print } from './io.js';

/**
 * Runs one command line and returns the exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted. Never throws: an error is
 * one line with its code and one with what to do on standard error, or with `--json` an object on standard output.
 *
 * An action whose options contradict each other calls `command.error(message)`.
 */
export async function runCommandLine(
  program: CommandUnknownOpts,
  args: readonly string[],
  io: Io,
): Promise<number> {
  for (const command of withAllCommands(program)) prepare(command, io);
  try {
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    // Help or a version was asked for and has been written.
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    // Whatever fails after an abort fails because of it.
    const shown = io.signal.aborted ? io.signal.reason : error;
    if (args.includes('--json')) print(io, JSON.stringify({ error: reportOf(shown) }));
    else note(io, describeError(shown));
    return exitCodeOf(shown);
  }
}

/** A command, its commands, and theirs. */
function withAllCommands(command: CommandUnknownOpts): readonly CommandUnknownOpts[] {
  return [command, ...command.commands.flatMap(withAllCommands)];
}

/** `--json`, `-q`; not `-` for standard input, and not `-3`. */
const LOOKS_LIKE_OPTION = /^(--|-[a-z]$)/i;

function prepare(command: CommandUnknownOpts, io: Io): void {
  const checkRequired = ownCheckOfRequired(command);
  command
    .configureOutput({ writeOut: (text) => void io.stdout.write(text), writeErr: () => {} })
    .exitOverride((error) => {
      // A leftover argument may have been meant as the value of a missing option.
      if (error.code === 'commander.excessArguments') checkRequired();
      throw error.exitCode === 0 ? error : usageError(command, error);
    })
    .hook('preAction', checkRequired);
  for (const option of command.options) {
    let isGiven = false;
    command.on(`option:${option.name()}`, (value: unknown) => {
      // Otherwise the last of two would win, silently.
      if (isGiven && !option.variadic) command.error(`option '--${option.name()}' is given twice`);
      isGiven = true;
      // The library takes whatever follows an option as its value, even another option.
      if (typeof value === 'string' && LOOKS_LIKE_OPTION.test(value))
        command.error(`option '${option.flags}' argument missing before '${value}'`);
    });
  }
}

/**
 * Takes over the check for required options from the library, which makes it before its check for unknown ones: for
 * `--quesion x` it would say that `--question` is missing, not that it is misspelt.
 */
function ownCheckOfRequired(command: CommandUnknownOpts): () => void {
  const required = command.options.filter(({ mandatory }) => mandatory);
  for (const option of required) option.makeOptionMandatory(false);
  return () => {
    for (const option of required) {
      if (command.getOptionValue(option.attributeName()) === undefined)
        command.error(`required option '${option.flags}' not specified`);
    }
  };
}

function usageError(command: CommandUnknownOpts, { code, message }: CommanderError): UsageError {
  // For a program called without a command, the library would print the help.
  const text = code === 'commander.help' ? 'no command given' : message.replace(/^error: /, '');
  const meant = code === 'commander.unknownOption' ? optionsWithWord(command, text) : '';
  const names: string[] = [];
  for (let at: CommandUnknownOpts | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return new UsageError(`${text.replace(/\n/g, ' ')}${meant}`, `See ${names.join(' ')} --help`);
}

/** The library suggests names that are spelt alike; of `--k` this suggests `--attention-k`. */
function optionsWithWord(command: CommandUnknownOpts, text: string): string {
  const [, word] = /^unknown option '--([\w-]+)(?:=.*)?'$/s.exec(text) ?? [];
  if (word === undefined) return '';
  const options = command.createHelp().visibleOptions(command);
  const named = options.flatMap(({ long }) => (long?.slice(2).split('-').includes(word) ? [long] : []));
  return named.length === 0 ? '' : ` (Did you mean ${named.join(' or ')}?)`;
}
