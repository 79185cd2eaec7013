# For the entry points: `require NAME...` ends the script with one line unless each variable has a
# value that can stand in an address as it is and that nobody guesses.
require() {
    for name; do
        eval "value=\${$name:-}"
        case $value in
            '') echo "error: $name: is empty; set it in .env" >&2; exit 3 ;;
            *[!A-Za-z0-9._~-]*)
                echo "error: $name: has a character that no address may have; use letters, digits, . _ ~ -" >&2
                exit 3 ;;
        esac
        if is_easy "$value"; then
            echo "error: $name: is too easy to guess; set it in .env to what docker/passwords.sh makes, or to 12 characters or more that are no known words" >&2
            exit 3
        fi
    done
}

# Whether a password has fewer than 12 characters, or fewer than 6 different ones beside the words,
# user names among them, and the rows of keys that are tried first.
is_easy() {
    [ "${#1}" -ge 12 ] || return 0
    rest=$(printf %s "$1" | tr '[:upper:]' '[:lower:]' | sed -E \
        's/administrator|admin|password|passw0rd|passwort|change|secret|default|example|welcome|letmein|login|root|user|test|guest|please|prefect|mlflow|optuna|postgres|diffusevae|server|database|qwerty|qwertz|asdfgh|abcdef|abc|123456789|12345678|1234567|123456|12345|1234|123//g')
    [ "$(printf %s "$rest" | tr -d '._~-' | fold -w 1 | sort -u | wc -l)" -lt 6 ]
}
