# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_fieldgate_global_optspecs
    string join \n h/help V/version
end

function __fish_fieldgate_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_fieldgate_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_fieldgate_using_subcommand
    set -l cmd (__fish_fieldgate_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c fieldgate -n "__fish_fieldgate_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -s V -l version -d 'Print version'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "run" -d 'Run the service'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "check" -d 'Report every problem of a configuration, or what it will publish and subscribe'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "demo" -d 'Run a simulated greenhouse with its own broker: no hardware, no file'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "doctor" -d 'Find what is wrong on this board and on the way to the broker, with a line that mends it'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "drivers" -d 'List the drivers, or show one driver\'s page'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "export" -d 'Print the readings that wait in the spool, for a board that never saw a network'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "filters" -d 'List the filters, or show one filter\'s page'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "forget" -d 'Clear what this gateway left at the broker, and in Home Assistant, when it is not to come back'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "migrate" -d 'Print the configuration that one of mqtt-io 2 becomes, with comments on what could not be carried'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "read" -d 'Sample one sensor once and print it, for checking the wiring'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "scan" -d 'List what this board has: buses, the chips on them, lines, kernel sensors, and what is switched off'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "rules" -d 'Print the rules in words, or what they would have done with recorded readings'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "safe-state" -d 'Drive every output to its safe state and end'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "schema" -d 'Print the JSON Schema of the configuration, for editors'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "watch" -d 'Follow a running gateway in the terminal: its sensors, outputs and alarms'
complete -c fieldgate -n "__fish_fieldgate_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand run" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand run" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand check" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand check" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand demo" -l port -d 'The broker\'s port on loopback; the next free one is taken if it is in use' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand demo" -l home-assistant -d 'Announce the greenhouse to Home Assistant, on the broker that it uses, in place of a broker of its own; at the end everything is removed there' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand demo" -l username -d 'The user at that broker' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand demo" -l password-file -d 'The file with that user\'s password' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand doctor" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand doctor" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand drivers" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand drivers" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand export" -l since -d 'Only readings taken since then, such as 2026-11-22T10:00:00Z (UTC) or 2h ago; those from before the clock was set come in any case' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand export" -l spool -d 'The spool\'s folder, or a file of it that was set aside, in place of the configuration\'s' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand export" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand export" -l csv -d 'Print CSV, a row for each measurement: time, sensor, measurement, value, unit, run, seq, clock'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand export" -l all -d 'Print answers to commands, what rules published and loss records as well'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand filters" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand filters" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand forget" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand forget" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand forget" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand migrate" -l plain -d 'Publish bare text below mqtt-io\'s own prefix, for when mqtt-io has been stopped'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand migrate" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand read" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand read" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand read" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand scan" -l yaml -d 'Print a configuration to paste'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand scan" -l json -d 'Print the result as JSON'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand scan" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand rules" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand rules" -l replay -d 'Recorded readings, one JSON object a line; they are replayed in virtual time' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand rules" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand safe-state" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand safe-state" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand schema" -s h -l help -d 'Print help'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -l broker -d 'The broker, in place of the configuration\'s, such as mqtt://broker.lan' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -l base-topic -d 'The topic below which the gateway publishes there, such as fieldgate/shed' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -l username -d 'The user at that broker' -r
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -l password-file -d 'The file with that user\'s password' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -l ca-file -d 'Who may sign that broker\'s certificate, with mqtts:// and wss://; otherwise whom this system trusts' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -l config -d 'The configuration file' -r -F
complete -c fieldgate -n "__fish_fieldgate_using_subcommand watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "run" -d 'Run the service'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "check" -d 'Report every problem of a configuration, or what it will publish and subscribe'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "demo" -d 'Run a simulated greenhouse with its own broker: no hardware, no file'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "doctor" -d 'Find what is wrong on this board and on the way to the broker, with a line that mends it'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "drivers" -d 'List the drivers, or show one driver\'s page'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "export" -d 'Print the readings that wait in the spool, for a board that never saw a network'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "filters" -d 'List the filters, or show one filter\'s page'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "forget" -d 'Clear what this gateway left at the broker, and in Home Assistant, when it is not to come back'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "migrate" -d 'Print the configuration that one of mqtt-io 2 becomes, with comments on what could not be carried'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "read" -d 'Sample one sensor once and print it, for checking the wiring'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "scan" -d 'List what this board has: buses, the chips on them, lines, kernel sensors, and what is switched off'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "rules" -d 'Print the rules in words, or what they would have done with recorded readings'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "safe-state" -d 'Drive every output to its safe state and end'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "schema" -d 'Print the JSON Schema of the configuration, for editors'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "watch" -d 'Follow a running gateway in the terminal: its sensors, outputs and alarms'
complete -c fieldgate -n "__fish_fieldgate_using_subcommand help; and not __fish_seen_subcommand_from run check demo doctor drivers export filters forget migrate read scan rules safe-state schema watch help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
