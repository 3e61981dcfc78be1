import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { Command, Options, Values } from './command.js';
import { UsageError } from './usage-error.js';

/** The values of a command's options. @throws UsageError for anything the command does not know. */
export function parseOptions<O extends Options>(command: Command<O>, args: readonly string[]): Values<O> {
  try {
    const config: ParseArgsConfig = {
      args: [...args],
      options: Object.fromEntries(
        Object.entries(command.options).map(([name, { type, multiple, short }]) => [
          name,
          { type, ...(multiple && { multiple }), ...(short !== undefined && { short }) },
        ]),
      ),
      strict: true,
      allowPositionals: false,
    };
    // parseArgs checked every name and type against the same table that Values is made from.
    return parseArgs(config).values as Values<O>;
  } catch (error) {
    const message = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new UsageError(
      `${command.name}: ${lowerFirst(message.replace(/\.? To specify.*$/s, ''))}`,
      seeHelp(command.name),
    );
  }
}

/** The pointer to a command's help. */
export function seeHelp(command?: string): string {
  return `See pnpm qa ${command === undefined ? '' : `${command} `}--help`;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
