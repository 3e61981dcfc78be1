import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { Command, Options, Values } from './command.js';
import { UsageError } from './usage-error.js';

/** The values of a command's options. @throws UsageError for anything the command does not know. */
export function parseOptions<O extends Options>(command: Command<O>, args: readonly string[]): Values<O> {
  try {
    const config: ParseArgsConfig = {
      args: withNegatives(command, args),
      options: Object.fromEntries(
        Object.entries(command.options).map(([name, { type, multiple, short }]) => [
          name,
          { type, ...(multiple && { multiple }), ...(short !== undefined && { short }) },
        ]),
      ),
      strict: true,
      allowPositionals: false,
      tokens: true,
    };
    const { values, tokens = [] } = parseArgs(config);
    const given = tokens.flatMap((token) => (token.kind === 'option' ? [token.name] : []));
    const twice = given.find((name, at) => given.indexOf(name) < at && !command.options[name]?.multiple);
    if (twice !== undefined) throw new Error(`option '--${twice}' is given twice`);
    // parseArgs checked every name and type against the same table that Values is made from.
    return values as Values<O>;
  } catch (error) {
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new UsageError(
      `${command.name}: ${lowerFirst(message.replace(/\.? To specify.*$/s, ''))}`,
      seeHelp(command.name),
    );
  }
}

/** `--attention-k -3` as `--attention-k=-3`: a number is a value, and what is wrong with it is for the option to say. */
function withNegatives<O extends Options>(command: Command<O>, args: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const last = joined.at(-1) ?? '';
    const takesValue = last.startsWith('--') && command.options[last.slice(2)]?.type === 'string';
    if (takesValue && /^-\d/.test(arg)) joined[joined.length - 1] = `${last}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/** The pointer to a command's help. */
export function seeHelp(command?: string): string {
  return `See pnpm qa ${command === undefined ? '' : `${command} `}--help`;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
