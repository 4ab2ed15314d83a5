/** Options that are right one by one but do not go together. */
import type { ConfEntry } from './conf-file.ts';
import type { OptionName, OptionValues } from './options.ts';
import type { ConfigProblem } from './problems.ts';

/** Expects that all options could be read. */
export function rejectContradictions(
  options: OptionValues,
  entries: ReadonlyMap<string, ConfEntry>,
  problems: ConfigProblem[],
): void {
  function reject(names: (OptionName | 'tls_required')[], reason: string, allowed: string): void {
    const entry = names.map((name) => entries.get(name)).find(Boolean);
    if (entry === undefined) return; // defaults do not contradict each other
    const { file, line, key, value } = entry;
    problems.push({ file, line, subject: key, value, reason, allowed });
  }

  if (options.backup_pull_every > 0) {
    const missing = (
      ['backup_pull_servers', 'backup_pull_authname', 'backup_pull_password_file'] as const
    ).filter((name) => (options[name] ?? '').length === 0);
    if (missing.length > 0)
      reject(['backup_pull_every'], `lacks ${missing.join(', ')}`, 'only together with these; off');
  }

  const certificate = options.tls_server_cert;
  if (!certificate) {
    const allowed = 'only together with tls_server_cert';
    if (options.backup_tls_required) {
      reject(['backup_tls_required', 'tls_required'], 'requires TLS, but there is no certificate', allowed);
    }
    if (options.backup_listen.some((address) => address.tls)) {
      reject(['backup_listen'], 'asks for TLS, but there is no certificate', allowed);
    }
    if (!options.allowplaintext && options.sasl_mech_list.every((name) => name === 'PLAIN')) {
      reject(
        ['sasl_mech_list'],
        'leaves no way to log in: PLAIN needs TLS, for which there is no certificate',
        'also SCRAM-SHA-256, or together with tls_server_cert or allowplaintext: yes',
      );
    }
    return;
  }
  const key = options.tls_server_key;
  if (key && key.split(',').length !== certificate.split(',').length) {
    reject(['tls_server_key'], 'names another number of files than tls_server_cert', 'as many of each');
  }
}
